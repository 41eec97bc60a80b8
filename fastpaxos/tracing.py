"""What a traced replica tells of its handlers, in the words of `specs/FastPaxos.tla`.

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

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, Final

from fastpaxos.acceptor import FastAcceptor
from fastpaxos.coordinator import Coordinator
from fastpaxos.learner import Choice, Tally
from fastpaxos.messages import Accept, Accepted, AnyValue, Nack, Prepare, Promise, Propose
from fastpaxos.rounds import OPEN, Recovery, Rounds, coordinator
from fastpaxos.settings import FastPaxosSettings
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.basic.records import FoundRecords
from paxos.contract import Event, Specification
from paxos.contract.traces import Given, PlainEvent, TraceForm
from paxos.errors import ConfigurationError
from paxos.quorum import QuorumSystem

__all__ = ["ACTIONS", "SPECIFICATION", "Tracer"]

#: Every action that is told.
ACTIONS: Final = frozenset(
    (
        *("Submit", "Restart", "Propose", "Phase1a", "Phase1b", "RepeatPromise", "CountPromise"),
        *("Phase2aAny", "TakeAny", "Phase2a", "SendAccept", "Phase2b", "RepeatVote", "Refuse"),
        *("RecoverVote", "CountVote", "Learn", "LearnNews", "Tell", "Free", "Preempt", "Stop"),
    )
)


# --- the form of the traces --------------------------------------------------------------------------


def _ballots(event: PlainEvent) -> Iterator[Ballot]:
    for value in event.values():
        if isinstance(value, list) and len(value) == 3 and value[0] >= 0:
            yield Ballot(*value)


def _constants(events: Iterable[PlainEvent], quorums: QuorumSystem) -> dict[str, object]:
    """Of each ballot whose it is and which one follows it, where it is fast; and which ones begin a round."""
    found, policies = {OPEN}, set[int]()
    for event in events:
        found.update(_ballots(event))
        if "fast_steps" in event:
            policies.add(event["fast_steps"])
    if len(policies) > 1:
        raise ConfigurationError(
            f"traces of clusters that recover differently can not be checked together: last fast steps are "
            f"{sorted(policies)}"
        )
    rounds = Rounds(*policies)
    for ballot in sorted(found):
        following = rounds.successor(ballot)
        while following is not None:
            found.add(following)
            following = rounds.successor(following)
    # Sequences, by rank: TLC reads a function of hundreds of ballots with a recursion for each.
    ranked = sorted(found)
    first = {ballot for ballot in ranked if ballot.round and ballot.step in (0, rounds.last_fast_step + 1)}
    return {
        "Opening": OPEN,
        "Follows": tuple(rounds.successor(ballot) or BOTTOM for ballot in ranked),
        "Owners": tuple(coordinator(ballot, quorums.members) for ballot in ranked),
        "Firsts": frozenset(first),
    }


def _rough(nodes: int) -> FastPaxosSettings:
    """Settings below a round trip, so that proposers are in each other's way for a while."""
    return FastPaxosSettings(
        recovery=(Recovery.UNCOORDINATED if nodes <= 3 else Recovery.COORDINATED).value,
        repeat_s=0.08,
        repeat_max_s=0.16,
        patience_s=0.15,
        recover_s=0.15,
        backoff_s=0.02,
        backoff_max_s=0.3,
        collisions_before_classic=0,
        reopen=True,
        reserve_rounds=16,
    )


#: The module, and its actions as they are traced.
SPECIFICATION: Final = Specification(
    "FastPaxos",
    {name: name for name in sorted(ACTIONS)} | {"Persist": "durable"},
    TraceForm(
        constants=_constants,
        settings=_rough,
        given={
            "None": Given.NONE,
            "Acceptor": Given.MEMBERS,
            "Quorum1": Given.PHASE_1,
            "Quorum2": Given.PHASE_2,
            "QuorumFast": Given.FAST,
            "Ballot": Given.BALLOTS,
            "Value": Given.VALUES,
            "Owner": "OwnerOf",
            "Fast": "IsFast",
            "Next1": "Following",
            "First": "IsFirst",
        },
    ),
)


class Tracer:
    """Tells of one replica's handlers.

    Args:
        node: the replica's id.
    """

    _QUESTIONS: ClassVar[Mapping[type, str]] = {
        Prepare: "Phase1a",
        Accept: "Phase2a",
        AnyValue: "Phase2aAny",
        Propose: "Propose",
    }

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
        self._tell(events, self._QUESTIONS[type(question)], "propose", **question._asdict())

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
            fast_steps=acceptor.rounds.last_fast_step,
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
