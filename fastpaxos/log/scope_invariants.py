"""What must hold in every state of the closed world of a fast log, by the names that the specification uses.

The rules are stated here by their definitions: nothing of the roles is asked, but for what a real learner
learns.
"""

from collections.abc import Callable, Mapping, Sequence

from fastpaxos.choosing import voters_by_value
from fastpaxos.learner import Tally
from fastpaxos.log.scope_facts import Known, text
from fastpaxos.rounds import Rounds
from paxos.ballot import Ballot, NodeId
from paxos.errors import ProtocolBreach
from paxos.quorum import Phase, QuorumSystem

__all__ = ["Judge"]

#: A value that nobody has proposed yet.
_ANY = b"?"


class Judge:
    """Knows the invariants of one world.

    Args:
        quorums: the quorum system.
        rounds: which ballots are fast.
        ballots: the ballots there are.
        slots: the slots there are.

    Attributes:
        breach: what a role said could not be; None for nothing.
        invariants: what must hold, by name: a sentence naming what broke, or None.
    """

    def __init__(
        self, quorums: QuorumSystem, rounds: Rounds, ballots: Sequence[Ballot], slots: Sequence[int]
    ) -> None:
        self._quorums = quorums
        self._rounds = rounds
        self._ballots = tuple(sorted(ballots))
        self._slots = slots
        self.breach: str | None = None
        self.invariants: Mapping[str, Callable[[Known], str | None]] = {
            "Agreement": self._agreement,
            "OneVotePerRound": self._one_vote,
            "OneValuePerBallot": self._one_value,
            "PickUnique": lambda _: self.breach,
            "VotesSafe": self._votes_safe,
            "AcceptSafe": self._accept_safe,
            "AnyOnlyIfFree": self._any_only_if_free,
            "LearnerSound": self._learner_sound,
        }

    def _phase(self, ballot: Ballot) -> Phase:
        return Phase.FAST if ballot.step <= self._rounds.last_fast_step else Phase.TWO

    def chosen(self, known: Known) -> dict[int, dict[bytes, Ballot]]:
        """What votes have chosen in each slot, and at which ballot first."""
        found: dict[int, dict[bytes, Ballot]] = {}
        for slot in self._slots:
            for ballot in known.ballots(slot):
                for value, nodes in voters_by_value(known.votes(ballot, slot).items()).items():
                    if self._quorums.is_quorum(nodes, self._phase(ballot)):
                        found.setdefault(slot, {}).setdefault(value, ballot)
        return found

    def _agreement(self, known: Known) -> str | None:
        """No two values are chosen in a slot."""
        for slot, values in self.chosen(known).items():
            if len(values) > 1:
                return f"chosen in slot {slot} are {' and '.join(map(text, values))}"
        return None

    def _one_vote(self, known: Known) -> str | None:
        """An acceptor votes for one value at a ballot in a slot."""
        seen: dict[tuple[NodeId, Ballot, int], bytes] = {}
        for node, ballot, slot, value in known.voted:
            if seen.setdefault((node, ballot, slot), value) != value:
                return f"acceptor {node} voted twice at {ballot} in slot {slot}"
        return None

    def _one_value(self, known: Known) -> str | None:
        """A classic ballot has one value in a slot, and a coordinator proposes one at any."""
        seen: dict[tuple[Ballot, int], bytes] = {}
        for ballot, slot, value in known.asked:
            if seen.setdefault((ballot, slot), value) != value:
                return f"{ballot} proposes two values in slot {slot}"
        for _, ballot, slot, value in known.voted:
            if self._phase(ballot) is Phase.TWO and seen.setdefault((ballot, slot), value) != value:
                return f"there are votes for two values at {ballot} in slot {slot}"
        return None

    # --- what may be chosen below ---------------------------------------------------------------------------

    def _rival(self, known: Known, below: Ballot, slot: int, value: bytes | None) -> str | None:
        """Who may still choose something else than `value` at a ballot; None where nobody can."""
        phase = self._phase(below)
        votes = known.votes(below, slot)
        free = []
        for node in self._quorums.members:
            floor, slots, compacted = known.records(node)
            held = slots.get(slot)
            if node in votes or slot <= compacted or floor > below:
                continue
            if held is None or (not held.chosen and max(held.promised, held.ballot) <= below):
                free.append(node)
        others = {each for each in votes.values() if each != value}
        if phase is Phase.FAST or not votes:
            others.add(_ANY)
        for other in sorted(others):
            nodes = [*free, *(node for node, each in votes.items() if each == other)]
            if self._quorums.is_quorum(nodes, phase):
                return f"{sorted(nodes)} may choose another at {below}"
        return None

    def _unsafe(self, known: Known, ballot: Ballot, slot: int, value: bytes | None) -> str | None:
        for below in self._ballots:
            if below >= ballot:
                return None
            said = self._rival(known, below, slot, value)
            if said is not None:
                return said
        return None

    def _votes_safe(self, known: Known) -> str | None:
        """Where there is a vote, nothing else was or can be chosen at a lower ballot."""
        for node, ballot, slot, value in known.voted:
            said = self._unsafe(known, ballot, slot, value)
            if said is not None:
                return f"acceptor {node} votes for {text(value)} at {ballot} in slot {slot}; {said}"
        return None

    def _accept_safe(self, known: Known) -> str | None:
        """Where something is proposed, nothing else was or can be chosen at a lower ballot."""
        for ballot, slot, value in known.asked:
            said = self._unsafe(known, ballot, slot, value)
            if said is not None:
                return f"{text(value)} is proposed at {ballot} in slot {slot}; {said}"
        return None

    def _any_only_if_free(self, known: Known) -> str | None:
        """Where a ballot is free, nothing was or can be chosen at a lower one."""
        for ballot, first in known.opened:
            for slot in self._slots[first - 1 :]:
                said = self._unsafe(known, ballot, slot, None)
                if said is not None:
                    return f"{ballot} is free from slot {first} on; in slot {slot} {said}"
        return None

    def _learner_sound(self, known: Known) -> str | None:
        """What a learner that hears all votes learns was chosen."""
        chosen = self.chosen(known)
        for slot in self._slots:
            tally = Tally[bytes](self._quorums, self._rounds)
            try:
                for node, ballot, at, value in known.voted:
                    if at == slot:
                        tally.count(node, ballot, value)
            except ProtocolBreach as breach:
                return f"slot {slot}: {breach}"
            learned = None if tally.choice is None else tally.choice.value
            if (learned is None) != (slot not in chosen) or (
                learned is not None and learned not in chosen[slot]
            ):
                return f"a learner learns {text(learned)} in slot {slot}"
        return None
