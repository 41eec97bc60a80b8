"""What must hold in every state of the closed world, by the names that the specification uses too.

Each is a function of a state.  What it needs of the state, a few standings and some of the facts, is cut out
first, and the answer for that is worked out once and remembered: a state costs a look-up for each invariant.

None of them trusts what a role says of itself where the messages that left tell as much.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from paxos.basic.scope_facts import (
    FULL,
    WIDTH,
    Facts,
    Learned,
    LearnerPaths,
    Remembered,
    Sent,
    Submitted,
    chosen_by,
)
from paxos.basic.scope_parts import AcceptorPart, Broken, LearnerPart, Part, say
from paxos.quorum import QuorumSystem

__all__ = ["Judge"]


class Judge:
    """Knows the invariants of one world.

    Args:
        facts: of the world.
        quorums: the quorum system.
        parts: everything that has a standing in a state, in order.
        learner: what learners are; they are no part of the state.
    """

    def __init__(
        self, facts: Facts, quorums: QuorumSystem, parts: Sequence[Part], learner: LearnerPart
    ) -> None:
        self._facts = facts
        self._quorums = quorums
        self._parts = parts
        self._acceptors = [number for number, part in enumerate(parts) if isinstance(part, AcceptorPart)]
        self._standings: dict[tuple[int, int], Any] = {}
        # By invariant: what is wrong with a standing of a part, whatever the rest of the state.
        self._flaws: dict[str, dict[tuple[int, int], str]] = {}
        self._learned: Remembered[Learned] = Remembered(LearnerPaths(learner, facts, self._node_of))
        self._monotone: Remembered[str | None] = Remembered(self._find_promise_lower)
        self._two_values: Remembered[str | None] = Remembered(self._find_two_values)
        self._chosen: Remembered[set[bytes]] = Remembered(self._find_chosen)
        self._invalid: Remembered[str | None] = Remembered(self._find_not_submitted)
        self._disagreement: Remembered[str | None] = Remembered(self._find_disagreement)
        self._unsound: Remembered[str | None] = Remembered(self._find_unsound)
        self.invariants: Mapping[str, Callable[[int], str | None]] = {
            "Agreement": self._agreement,
            "OneValuePerBallot": self._one_value_per_ballot,
            "VoteAtMostPromise": lambda state: self._flaw("VoteAtMostPromise", state),
            "PromiseMonotone": self._promise_monotone,
            "LearnerSound": self._learner_sound,
            "Validity": self._validity,
            "HandlersAnswer": self._handlers_answer,
        }

    def _node_of(self, part: int) -> int:
        return self._parts[part].node

    # --- of a standing by itself --------------------------------------------------------------------------

    def standing(self, part: int, number: int, value: Any) -> None:
        """Look at a new standing of a part."""
        self._standings[part, number] = value
        if isinstance(value, Broken):
            self._flaws.setdefault(value.invariant, {})[part, number] = (
                f"{self._parts[part].name}: {value.what}"
            )
        elif isinstance(self._parts[part], AcceptorPart):
            for where, record in (("remembers", value.record), ("has on disk", value.disk)):
                if record is not None and record.accepted_ballot > record.promised:
                    what = (
                        f"{self._parts[part].name} {where} a vote at {record.accepted_ballot} "
                        f"and a promise of {record.promised}"
                    )
                    self._flaws.setdefault("VoteAtMostPromise", {})[part, number] = what

    def _flaw(self, name: str, state: int) -> str | None:
        flaws = self._flaws.get(name)
        if not flaws:
            return None
        for part in range(len(self._parts)):
            found = flaws.get((part, (state >> (part * WIDTH)) & FULL))
            if found is not None:
                return found
        return None

    def _handlers_answer(self, state: int) -> str | None:
        """No handler raises anything but a breach that it names."""
        return self._flaw("HandlersAnswer", state) or self._learner_breach("HandlersAnswer", state)

    # --- of acceptors -------------------------------------------------------------------------------------

    def _promise_monotone(self, state: int) -> str | None:
        """An acceptor stands at or above every promise and vote that left it, over its restarts too."""
        answered = self._facts.answered
        for part in self._acceptors:
            number = (state >> (part * WIDTH)) & FULL
            said = self._monotone(part, number, state & answered.get(part, 0))
            if said is not None:
                return said
        return None

    def _find_promise_lower(self, part: int, number: int, answered: int) -> str | None:
        standing = self._standings[part, number]
        if isinstance(standing, Broken):
            return None
        promised = standing.record.promised
        for _, fact in self._facts.of(answered):
            if fact.message.ballot > promised:
                return f"{self._parts[part].name} stands at {promised}, after {say(fact.message)} left it"
        return None

    # --- of values ----------------------------------------------------------------------------------------

    def _one_value_per_ballot(self, state: int) -> str | None:
        """One ballot carries one value, in every proposal and every vote."""
        return (
            self._two_values(state & self._facts.valued)
            or self._flaw("OneValuePerBallot", state)
            or self._learner_breach("OneValuePerBallot", state)
        )

    def _find_two_values(self, valued: int) -> str | None:
        first: dict[Any, Sent] = {}
        for _, fact in self._facts.of(valued):
            known = first.setdefault(fact.message.ballot, fact)
            if known.message[2:] != fact.message[2:]:
                return f"{say(known.message)} and {say(fact.message)} are of one ballot"
        return None

    def _validity(self, state: int) -> str | None:
        """Every value proposed, voted for or learned was submitted by a client."""
        return self._invalid(state & (self._facts.valued | self._facts.submitted))

    def _find_not_submitted(self, mask: int) -> str | None:
        facts = [fact for _, fact in self._facts.of(mask)]
        submitted = {(fact.value,) for fact in facts if isinstance(fact, Submitted)}
        for fact in facts:
            if isinstance(fact, Sent) and fact.message[2:3] not in submitted:
                return f"{say(fact.message)} carries a value that nobody submitted"
        for value, how in self._learned(mask & self._facts.votes).values.items():
            if (value,) not in submitted:
                return f"a learner that took in {how} decides {_text(value)}, which nobody submitted"
        return None

    # --- of decisions -------------------------------------------------------------------------------------

    def _learner_breach(self, name: str, state: int) -> str | None:
        broken = self._learned(state & self._facts.votes).broken
        if broken is None or broken[0].invariant != name:
            return None
        return f"a learner that took in {broken[1]}: {broken[0].what}"

    def _agreement(self, state: int) -> str | None:
        """No two values are chosen, and no two decided."""
        return (
            self._disagreement(state & self._facts.votes)
            or self._flaw("Agreement", state)
            or self._learner_breach("Agreement", state)
        )

    def _find_chosen(self, votes: int) -> set[bytes]:
        return chosen_by((fact for _, fact in self._facts.of(votes)), self._quorums, self._node_of)

    def _find_disagreement(self, votes: int) -> str | None:
        chosen = self._chosen(votes)
        if len(chosen) > 1:
            return f"both {' and '.join(sorted(map(_text, chosen)))} are chosen"
        decided = self._learned(votes).values
        if len(decided) > 1:
            how = "; ".join(f"{_text(value)} after {path}" for value, path in decided.items())
            return f"learners decide {how}"
        return None

    def _learner_sound(self, state: int) -> str | None:
        """What a learner decides was chosen."""
        return self._unsound(state & self._facts.votes)

    def _find_unsound(self, votes: int) -> str | None:
        chosen = self._chosen(votes)
        for value, how in self._learned(votes).values.items():
            if value not in chosen:
                return (
                    f"a learner that took in {how} decides {_text(value)}, "
                    "for which no quorum voted at any one ballot"
                )
        return None


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
