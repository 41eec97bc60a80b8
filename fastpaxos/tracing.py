"""What a traced replica tells of its handlers: one event for each, in the words of a specification.

Each function here is called by a handler after it has done its work, and only when the replica traces.  It
adds one event, named as the action that the handler took, with what the handler was given and the state that
it left: an acceptor's promise, vote and opened ballot, the promises a coordinator has gathered, the votes
counted at a ballot.  What changed nothing and answered nothing is not told.

    Submit, Restart                        what comes from outside
    Propose                                a value goes straight to the acceptors
    Phase1a, Phase1b, CountPromise         a round is begun, promised, and the promises gathered
    Phase2aAny, TakeAny                    a fast ballot is opened; an acceptor hears so
    Phase2a, SendAccept                    a value is picked, by promises or votes; the own acceptor is asked;
                                           the others are asked when that one's vote is durable
    Phase2b, RepeatVote, Refuse            an acceptor votes, says how it voted, or stands higher
    RecoverVote                            an acceptor picks by votes itself, and votes
    CountVote, Learn, LearnNews, Tell      votes are counted; the decision is known, and told
    Free, Preempt, Stop                    a round that ends without a proposal
"""

from typing import Final

from fastpaxos.acceptor import FastAcceptor
from fastpaxos.coordinator import Coordinator
from fastpaxos.learner import Choice, Tally
from fastpaxos.messages import Accept, Accepted, AnyValue, Nack, Prepare, Promise, Propose
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.basic.records import FoundRecords
from paxos.contract import Event

__all__ = ["ACTIONS", "Tracer"]

#: Every action that is told.
ACTIONS: Final = frozenset(
    (
        *("Submit", "Restart", "Propose", "Phase1a", "Phase1b", "RepeatPromise", "CountPromise"),
        *("Phase2aAny", "TakeAny", "Phase2a", "SendAccept", "Phase2b", "RepeatVote", "Refuse"),
        *("RecoverVote", "CountVote", "Learn", "LearnNews", "Tell", "Free", "Preempt", "Stop"),
    )
)
_QUESTIONS: Final = {Prepare: "Phase1a", Accept: "Phase2a", AnyValue: "Phase2aAny", Propose: "Propose"}


class Tracer:
    """Tells of one replica's handlers.

    Args:
        node: the replica's id.
    """

    def __init__(self, node: NodeId) -> None:
        self._node = node

    def _tell(self, events: list[Event], action: str, cause: str, **arguments: object) -> None:
        events.append(Event(action, self._node, arguments, cause, True))

    def restarted(self, events: list[Event], found: FoundRecords) -> None:
        """The replica was made from these records: one event for each decree, and one for all others."""
        for decree, (_, value) in found.chosen.items():
            self._tell(events, "Restart", "start", decree=decree, chosen=value)
        for decree, (promised, vote, voted) in found.acceptors.items():
            if decree not in found.chosen:
                self._tell(
                    events,
                    "Restart",
                    "start",
                    decree=decree,
                    promised=promised,
                    vote=vote,
                    voted=voted,
                    chosen=None,
                )
        self._tell(events, "Restart", "start", promised=BOTTOM, vote=BOTTOM, voted=None, chosen=None)

    def submitted(self, events: list[Event], decree: bytes, value: bytes | None) -> None:
        """A client asked for a value to be chosen; for None it asked what is."""
        if value is not None:
            self._tell(events, "Submit", "submit", decree=decree, value=value)

    # --- proposers and coordinators --------------------------------------------------------------

    def asks(self, events: list[Event], question: Prepare | Accept | AnyValue | Propose) -> None:
        """A question is put for the first time: to all acceptors, an Accept to the own one."""
        self._tell(events, _QUESTIONS[type(question)], "propose", **question._asdict())

    def sends(self, events: list[Event], question: Accept) -> None:
        """The own vote is durable, and the others are asked."""
        self._tell(events, "SendAccept", "Accepted", **question._asdict())

    def promised(
        self, events: list[Event], sender: NodeId, message: Promise, leader: Coordinator, before: int
    ) -> None:
        """A promise was taken in, of so many before it; nothing is told when it did not count."""
        gathered = frozenset(leader.gathered)
        if len(gathered) == before:
            return
        self._tell(
            events,
            "CountPromise",
            "Promise",
            decree=message.decree,
            sender=sender,
            ballot=message.ballot,
            vote=message.accepted_ballot,
            voted=message.accepted_value,
            gathered=gathered,
            proposed=leader.proposed,
            opened=leader.opened,
        )

    def ends(self, events: list[Event], action: str, decree: bytes, ballot: Ballot) -> None:
        """A round ends without a proposal: "Free", "Preempt", "Stop"."""
        self._tell(events, action, "end", decree=decree, ballot=ballot)

    # --- acceptors -----------------------------------------------------------------------------

    def answered(
        self,
        events: list[Event],
        cause: str,
        reply: Promise | Accepted | Nack | None,
        acceptor: FastAcceptor,
        changed: bool,
    ) -> None:
        """An acceptor did what it was asked, or not, and its record is what it is now."""
        answer: dict[str, object] = {}
        if isinstance(reply, Promise):
            action = "Phase1b" if changed else "RepeatPromise"
            answer = {"reported": reply.accepted_ballot, "value": reply.accepted_value}
        elif isinstance(reply, Accepted):
            action = "RecoverVote" if cause == "recovery" else "Phase2b" if changed else "RepeatVote"
            answer = {"value": reply.value}
        elif isinstance(reply, Nack):
            action = "Refuse"
            answer = {"by": reply.promised}
        else:
            action = "TakeAny"
        self._tell(
            events,
            action,
            cause,
            decree=acceptor.decree,
            ballot=acceptor.opened if reply is None else reply.ballot,
            **answer,
            promised=acceptor.promised,
            vote=acceptor.accepted_ballot,
            voted=acceptor.accepted_value,
            opened=acceptor.opened,
        )

    # --- learners ------------------------------------------------------------------------------

    def counted(
        self, events: list[Event], sender: NodeId, message: Accepted, tally: Tally[bytes], before: int
    ) -> None:
        """A vote was taken in, of so many before it at its ballot; nothing is told when it did not count."""
        decree, ballot, value = message
        votes = tally.votes(ballot)
        if len(votes) == before:
            return
        self._tell(
            events,
            "CountVote",
            "Accepted",
            decree=decree,
            sender=sender,
            ballot=ballot,
            value=value,
            voters=frozenset(node for node, voted in votes.items() if voted == value),
        )

    def learned(self, events: list[Event], decree: bytes, value: bytes, choice: Choice[bytes] | None) -> None:
        """The decision is known: by counting votes, or by news."""
        if choice is None:
            self._tell(events, "LearnNews", "Chosen", decree=decree, value=value)
        else:
            self._tell(events, "Learn", "Accepted", decree=decree, ballot=choice.ballot, value=value)

    def told(self, events: list[Event], decree: bytes, value: bytes) -> None:
        """A question was answered with the decision."""
        self._tell(events, "Tell", "question", decree=decree, value=value)
