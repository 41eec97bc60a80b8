"""A state as the specification of Basic Paxos knows it, and which steps it allows.

This is Lamport's Paxos module (a quorum's promises are read at once, and there are no learners) as a relation
between two states.  Where an acceptor is silent, or a proposer stops, nothing changes here, which is allowed.

Source: Lamport, "The Paxos Algorithm, or How to Win a Turing Award", module Paxos.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from paxos.quorum import Phase, QuorumSystem

__all__ = ["SpecState", "why_not"]


class SpecState(NamedTuple):
    """A state, with the specification's own names.

    Args:
        msgs: messages sent: ("1a", bal), ("1b", acc, bal, mbal, mval), ("2a", bal, val) and
            ("2b", acc, bal, val); no vote is -1 and None.
        max_bal: for each acceptor the highest ballot joined, or -1.
        max_v_bal: the ballot of its last vote, or -1.
        max_val: the value of its last vote, or None.
    """

    msgs: frozenset[tuple[Any, ...]]
    max_bal: tuple[int, ...]
    max_v_bal: tuple[int, ...]
    max_val: tuple[str | None, ...]

    def acceptor(self, node: int) -> tuple[int, int, str | None]:
        """What acceptor 1, 2, ... stands at."""
        return self.max_bal[node - 1], self.max_v_bal[node - 1], self.max_val[node - 1]


def why_not(before: SpecState, after: SpecState, quorums: QuorumSystem) -> str | None:
    """Why the specification does not allow a step, in a sentence; None when it does."""
    new = sorted(after.msgs - before.msgs, key=repr)
    if len(new) > 1 or not before.msgs <= after.msgs:
        return "the specification sends one message in a step and takes none back"
    changed = [node for node in quorums.members if before.acceptor(node) != after.acceptor(node)]
    if not new:
        return _changed_nothing(before, after, changed)
    (message,) = new
    if message[0] in ("1b", "2b"):
        if changed not in ([], [message[1]]):
            return f"an acceptor changed without a message of its own, when {message} was sent"
    elif changed:
        return f"acceptor {changed[0]} changed when {message} was sent"
    return _RULES[message[0]](before, after, message, quorums)


def _changed_nothing(before: SpecState, after: SpecState, changed: list[int]) -> str | None:
    """A step without a message that is new: an acceptor may repeat an answer, and do nothing else."""
    if not changed:
        return None
    was, is_ = before.acceptor(changed[0]), after.acceptor(changed[0])
    return f"acceptor {changed[0]} goes from {was} to {is_} and says nothing"


def _phase_1a(
    before: SpecState, after: SpecState, message: tuple[Any, ...], quorums: QuorumSystem
) -> str | None:
    return None


def _phase_1b(
    before: SpecState, after: SpecState, message: tuple[Any, ...], quorums: QuorumSystem
) -> str | None:
    _, node, ballot, voted_at, voted = message
    promised, *vote = before.acceptor(node)
    if ("1a", ballot) not in before.msgs or ballot <= promised or [voted_at, voted] != vote:
        return f"Phase1b does not allow {message} of an acceptor that stands at {before.acceptor(node)}"
    if after.acceptor(node) != (ballot, *vote):
        return f"Phase1b does not end at {after.acceptor(node)} with {message}"
    return None


def _phase_2a(
    before: SpecState, after: SpecState, message: tuple[Any, ...], quorums: QuorumSystem
) -> str | None:
    _, ballot, value = message
    if any(sent[0] == "2a" and sent[1] == ballot for sent in before.msgs):
        return f"Phase2a does not allow a second proposal at a ballot: {message}"
    promises = {sent[1]: sent[3:] for sent in before.msgs if sent[0] == "1b" and sent[2] == ballot}
    for highest in {-1} | {voted_at for voted_at, voted in promises.values() if voted == value}:
        # Those that report no later vote: if they are a quorum, it shows this value to be bound, or none.
        if quorums.is_quorum({node for node, vote in promises.items() if vote[0] <= highest}, Phase.ONE):
            return None
    told = dict(sorted(promises.items()))
    return f"Phase2a does not allow {message}: the promises, with their votes, are {told}"


def _phase_2b(
    before: SpecState, after: SpecState, message: tuple[Any, ...], quorums: QuorumSystem
) -> str | None:
    _, node, ballot, value = message
    if ("2a", ballot, value) not in before.msgs or ballot < before.acceptor(node)[0]:
        return f"Phase2b does not allow {message} of an acceptor that stands at {before.acceptor(node)}"
    if after.acceptor(node) != (ballot, ballot, value):
        return f"Phase2b does not end at {after.acceptor(node)} with {message}"
    return None


_RULES: Final[dict[str, Callable[[SpecState, SpecState, tuple[Any, ...], QuorumSystem], str | None]]] = {
    "1a": _phase_1a,
    "1b": _phase_1b,
    "2a": _phase_2a,
    "2b": _phase_2b,
}
