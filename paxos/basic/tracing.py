"""What a traced replica tells of its handlers, in the words of `specs/Paxos.tla`.

Each function here is called by a handler after it has done its work, and only when the replica traces.  It
adds one event, named as the action of the specification that the handler took, with what the handler was
given and the state that it left: an acceptor's promise and vote, the promises a proposer has gathered, the
votes a learner has counted.  What changed nothing and answered nothing is not told.

`SPECIFICATION` ties the names: every action of the module is told here under the same name, but for
Persist, which happens between the driver and its disk (`Step.action` "durable").
"""

from typing import Final

from paxos.ballot import BOTTOM, NodeId
from paxos.basic.acceptor import Acceptor
from paxos.basic.learner import Learner
from paxos.basic.messages import Accept, Accepted, Nack, Prepare, Promise
from paxos.basic.proposer import Proposer
from paxos.basic.records import FoundRecords
from paxos.basic.settings import BasicSettings
from paxos.contract import Event, Specification
from paxos.contract.traces import TraceForm

__all__ = ["SPECIFICATION", "Tracer"]


def _rough(nodes: int) -> BasicSettings:
    """Settings below a round trip, so that proposers outbid each other for a while."""
    backoff_s, backoff_max_s = (0.008, 0.06) if nodes <= 3 else (0.04, 0.5)
    return BasicSettings(
        repeat_s=0.08,
        repeat_max_s=0.16,
        backoff_s=backoff_s,
        backoff_max_s=backoff_max_s,
        reserve_rounds=16,
    )


#: The module, and its actions as they are traced.
SPECIFICATION: Final = Specification(
    "Paxos",
    {
        name: name
        for name in (
            "Submit",
            "Phase1a",
            "CountPromise",
            "Phase2a",
            "Free",
            "Preempt",
            "Stop",
            "Phase1b",
            "RepeatPromise",
            "Phase2b",
            "RepeatVote",
            "Refuse",
            "CountVote",
            "Learn",
            "LearnNews",
            "Tell",
            "Restart",
        )
    }
    | {"Persist": "durable"},
    TraceForm(settings=_rough),
)


class Tracer:
    """Tells of one replica's handlers.

    Args:
        node: the replica's id.
    """

    def __init__(self, node: NodeId) -> None:
        self._node = node
        # What was gathered before the handler that now runs, to see whether it gathered anything.
        self._before: tuple[object, ...] = ()

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

    # --- proposers -----------------------------------------------------------------------------

    def asks(self, events: list[Event], question: Prepare | Accept) -> None:
        """A question is put to all acceptors for the first time."""
        action = "Phase1a" if question.__class__ is Prepare else "Phase2a"
        self._tell(events, action, "propose", **question._asdict())

    def gathers(self, gatherer: Proposer | Learner) -> None:
        """An answer is about to be taken in."""
        self._before = gatherer.fingerprint()

    def promise_gathered(
        self, events: list[Event], sender: NodeId, message: Promise, proposer: Proposer
    ) -> None:
        """A promise was taken in; nothing is told when it did not count."""
        if proposer.fingerprint() == self._before:
            return
        bound = proposer._best > BOTTOM
        self._tell(
            events,
            "CountPromise",
            "Promise",
            decree=message.decree,
            sender=sender,
            ballot=message.ballot,
            vote=message.accepted_ballot,
            voted=message.accepted_value,
            gathered=frozenset(proposer._promises),
            best=proposer._best,
            binding=proposer.proposed if bound else None,
        )

    def free(self, events: list[Event], proposer: Proposer) -> None:
        """A quorum promised, reported no vote, and there is nothing to propose."""
        self._tell(events, "Free", "Promise", decree=proposer.decree, ballot=proposer.ballot)

    def preempted(self, events: list[Event], message: Nack) -> None:
        """The current ballot was outbid."""
        self._tell(events, "Preempt", "Nack", **message._asdict())

    def stops(self, events: list[Event], decree: bytes, proposer: Proposer | None) -> None:
        """The attempt is given up and forgotten, if there was one."""
        if proposer is not None:
            self._tell(events, "Stop", "stop", decree=decree)

    # --- acceptors -----------------------------------------------------------------------------

    def answered(
        self,
        events: list[Event],
        question: Prepare | Accept,
        reply: Promise | Accepted | Nack,
        acceptor: Acceptor,
        changed: bool,
    ) -> None:
        """An acceptor answered, and its record is what it is now."""
        answer: dict[str, object] = {}
        if isinstance(reply, Promise):
            action = "Phase1b" if changed else "RepeatPromise"
            answer = {"reported": reply.accepted_ballot, "value": reply.accepted_value}
        elif isinstance(reply, Accepted):
            action = "Phase2b" if changed else "RepeatVote"
            answer = {"value": reply.value}
        else:
            action = "Refuse"
            answer = {"by": reply.promised}
        self._tell(
            events,
            action,
            type(question).__name__,
            decree=question.decree,
            ballot=reply.ballot,
            **answer,
            promised=acceptor.promised,
            vote=acceptor.accepted_ballot,
            voted=acceptor.accepted_value,
        )

    # --- learners ------------------------------------------------------------------------------

    def vote_gathered(self, events: list[Event], sender: NodeId, message: Accepted, learner: Learner) -> None:
        """A vote was taken in; nothing is told when it did not count."""
        if learner.fingerprint() == self._before:
            return
        decree, ballot, value = message
        _, voters = learner._tallies.get(ballot, (value, set()))
        self._tell(
            events,
            "CountVote",
            "Accepted",
            decree=decree,
            sender=sender,
            ballot=ballot,
            value=value,
            voters=frozenset(voters),
        )

    def learned(self, events: list[Event], decree: bytes, value: bytes, learner: Learner | None) -> None:
        """The decision is known: by counting votes, or by news."""
        decision = learner.decision if learner is not None else None
        if decision is None:
            self._tell(events, "LearnNews", "Chosen", decree=decree, value=value)
        else:
            self._tell(events, "Learn", "Accepted", decree=decree, ballot=decision.ballot, value=value)

    def told(self, events: list[Event], decree: bytes, value: bytes) -> None:
        """A question was answered with the decision."""
        self._tell(events, "Tell", "question", decree=decree, value=value)
