"""What a simulated client says and what it makes of the answers: a desk.

When clients ask, whom, and how often they try again is the same whatever is decided, and stands in
`clients`.  What they ask depends on it: a decree is asked for with one message, a log with requests of a
client that says first when it was born.  That is what a desk knows, and there is one for each kind of
protocol: `decree_desk` and `log_desk`.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from paxos.ballot import NodeId
from paxos.command import RequestId
from paxos.contract import Message

if TYPE_CHECKING:
    from paxos.sim.loop import Site

__all__ = [
    "AGAIN",
    "DONE",
    "ELSEWHERE",
    "LATE",
    "REDIRECT",
    "REFUSED",
    "REJECTED",
    "UNKNOWN",
    "Answer",
    "Desk",
    "Ongoing",
    "Session",
    "name_of",
]

# What an answer is. The first four end an operation, and are what its outcome is called.
DONE: Final = "done"
#: Certainly not carried out.
REJECTED: Final = "rejected"
#: It may have been.
UNKNOWN: Final = "unknown"
#: The state machine refused it, and nothing changed.
REFUSED: Final = "refused"
#: Of another question than the one that waits.
LATE: Final = "late"
#: Another node takes it.
REDIRECT: Final = "redirect"
#: This node does not take it, and did not carry it out.
ELSEWHERE: Final = "elsewhere"
#: It was no answer to the question itself; the operation's message is another now, for the same node.
AGAIN: Final = "again"

_NEVER: Final = 1 << 62


class Answer(NamedTuple):
    """What a client makes of what it heard.

    Args:
        kind: one of the words above.
        out: DONE: the result.
        node: REDIRECT: which other node, as text.
    """

    kind: str
    out: Any = None
    node: str = ""


class Ongoing:
    """An operation that may still change.

    Attributes:
        kind, name, value, old: what is asked, as `paxos.sim.Operation` has it.
        message: what is sent to nodes now.
        tries: attempts after the first.
        redirects: how often it was sent on.
        unknown: whether some attempt may have been taken, and its outcome is not known.
        request: of a log: the id under which it is carried out; None for a query.
        place: of a query of a log: between which marks it was answered.
    """

    __slots__ = (
        "call_ns", "kind", "message", "name", "node", "old", "out", "outcome", "place", "redirects",
        "request", "return_ns", "session", "tries", "unknown", "value",
    )  # fmt: skip

    def __init__(
        self, session: "Session", kind: str, name: Any, value: Any, message: Message, call_ns: int
    ) -> None:
        self.session: Session = session
        self.kind: str = kind
        self.name: Any = name
        self.value: Any = value
        self.old: Any = None
        self.message: Message = message
        self.call_ns: int = call_ns
        self.return_ns: int | None = None
        self.outcome: str | None = None
        self.out: Any = None
        self.node: NodeId | None = None
        self.tries: int = 0
        self.redirects: int = 0
        self.unknown: bool = False
        self.request: RequestId | None = None
        self.place: tuple[int, int] | None = None


class Session:
    """One client. `site` is the node it asks now, `op` what it waits for, `memory` what its desk keeps.

    `leader` is where it was sent on to, and what it asks first as long as that answers.
    """

    __slots__ = (
        "deadline_ns",
        "home",
        "index",
        "key",
        "leader",
        "left",
        "memory",
        "op",
        "sequence",
        "site",
        "timer_ns",
    )

    def __init__(self, index: int, home: "Site", left: int) -> None:
        self.index: int = index
        self.home: Site = home
        self.left: int = left
        self.key: bytes = b"client%010d" % index
        self.sequence: int = 0
        self.site: Site = home
        self.leader: Site | None = None
        self.op: Ongoing | None = None
        self.deadline_ns: int = 0
        self.timer_ns: int = _NEVER
        self.memory: Any = None


class Desk(Protocol):
    """What clients say and hear, for one kind of protocol."""

    def invent(self, session: Session, begun: int, now_ns: int) -> Ongoing:
        """The next operation of a session; `begun` were begun before, by all."""
        ...

    def reading(self, session: Session, name: Any, now_ns: int) -> Ongoing:
        """An operation that reads `name`."""
        ...

    def audited(self, operations: Iterable[Ongoing]) -> Sequence[Any]:
        """What every node is asked about at the end, in order."""
        ...

    def heard(self, session: Session, op: Ongoing, reply: Message) -> Answer:
        """What a message to the client is to the operation that it waits for."""
        ...

    def ended(self, session: Session, op: Ongoing) -> None:
        """The operation has its outcome."""
        ...


def name_of(begun: int, names: int | None, window: int | None, operations: int, draw: Any) -> int:
    """The number of the decree or key that an operation is about.

    Args:
        begun: operations begun before.
        names, window, operations: as the workload has them.
        draw: chooses.
    """
    if names is None:
        return begun
    if window is None:
        return int(draw("name", names))
    first = begun * (names - window + 1) // max(operations, 1)
    return first + int(draw("name", window))
