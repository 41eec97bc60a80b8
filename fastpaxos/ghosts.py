"""What the invariants of Fast Paxos keep of a run: votes, promises, and what each node was told of them.

The rules are stated here once more, by their definitions, with every quorum enumerated, and share nothing
with the code that they judge: a mistake in `fastpaxos.choosing` must not be made twice.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import TypeAlias

from fastpaxos.desk import Desk
from fastpaxos.messages import Accepted, Promise
from fastpaxos.rounds import Rounds
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.contract import Step
from paxos.quorum import Phase, QuorumSystem

__all__ = ["Heard", "Report", "RoundsOf", "allowed", "choosable_by_definition"]

#: How an acceptor last voted, as it said: ballot and value; BOTTOM and None for not at all.
Report: TypeAlias = tuple[Ballot, bytes | None]


class RoundsOf:
    """Which ballots are fast in this run: every replica says the same."""

    def __init__(self) -> None:
        self._rounds: Rounds | None = None

    def see(self, step: Step) -> Rounds:
        """The rounds of the run; the default as long as no replica was seen."""
        if self._rounds is None:
            if not isinstance(step.replica, Desk):
                return Rounds()
            self._rounds = step.replica.rounds
        return self._rounds


@lru_cache(maxsize=64)
def _fast_quorums(quorums: QuorumSystem) -> tuple[frozenset[NodeId], ...]:
    return quorums.smallest_quorums(Phase.FAST)


def choosable_by_definition(
    reports: Mapping[NodeId, Report], ballot: Ballot, value: bytes, quorums: QuorumSystem
) -> bool:
    """Whether some fast quorum has all its members that reported voting for the value at a ballot."""
    return any(
        all(reports[node] == (ballot, value) for node in quorum if node in reports)
        for quorum in _fast_quorums(quorums)
    )


def allowed(reports: Mapping[NodeId, Report], quorums: QuorumSystem, rounds: Rounds) -> set[bytes] | None:
    """The values that a phase-1 quorum's reports leave to propose; None for any.

    Source: Lamport, *Fast Paxos*, section 3.3.1, figure 2.
    """
    highest = max(ballot for ballot, _ in reports.values())
    voted = {value for ballot, value in reports.values() if ballot == highest and value is not None}
    if highest == BOTTOM:
        return None
    if len(voted) == 1 or highest.step > rounds.last_fast_step:
        return voted
    bound = {value for value in voted if choosable_by_definition(reports, highest, value, quorums)}
    return bound or None


class Heard:
    """What each node took in of a decree, in the order in which it did, in its present life.

    Promises of each ballot, and votes at each ballot: the two things that a proposal may rest on.
    """

    def __init__(self, quorums: QuorumSystem) -> None:
        self._quorums = quorums
        self._promises: dict[NodeId, dict[tuple[bytes, Ballot], dict[NodeId, Report]]] = {}
        self._votes: dict[NodeId, dict[tuple[bytes, Ballot], dict[NodeId, Report]]] = {}

    def see(self, step: Step) -> None:
        """Take in what the step's node was told, or forget all it knew."""
        if step.action == "crash":
            self._promises.pop(step.node, None)
            self._votes.pop(step.node, None)
            return
        message, sender = step.message, step.sender
        if sender not in self._quorums.members or sender is None:
            return
        if isinstance(message, Promise):
            of, report = self._promises, (message.accepted_ballot, message.accepted_value)
        elif isinstance(message, Accepted):
            of, report = self._votes, (message.ballot, message.value)
        else:
            return
        heard = of.setdefault(step.node, {}).setdefault((message.decree, message.ballot), {})
        heard.setdefault(sender, report)

    def promises(self, node: NodeId, decree: bytes, ballot: Ballot) -> Mapping[NodeId, Report]:
        """The promises of a ballot that a node took in."""
        return self._promises.get(node, {}).get((decree, ballot), {})

    def votes(self, node: NodeId, decree: bytes, ballot: Ballot) -> Mapping[NodeId, Report]:
        """The votes at a ballot that a node took in."""
        return self._votes.get(node, {}).get((decree, ballot), {})

    def forget(self, node: NodeId, decree: bytes) -> None:
        """The node decided: it concludes nothing more for this decree."""
        for of in (self._promises, self._votes):
            held = of.get(node, {})
            for key in [key for key in held if key[0] == decree]:
                del held[key]

    def bases(
        self, node: NodeId, decree: bytes, ballot: Ballot, rounds: Rounds
    ) -> Iterator[Mapping[NodeId, Report]]:
        """Every phase-1 quorum of reports that a node had at some time, for proposing at a ballot.

        Promises of the ballot; or votes at the one before, which stand for them. Not mixed: each was gathered
        and judged by itself.
        """
        before = rounds.predecessor(ballot)
        gathered = [self.promises(node, decree, ballot)]
        if before is not None:
            gathered.append(self.votes(node, decree, before))
        for reports in gathered:
            yield from _prefixes(reports, lambda nodes: self._quorums.is_quorum(nodes, Phase.ONE))

    def permits(self, node: NodeId, decree: bytes, ballot: Ballot, value: bytes, rounds: Rounds) -> bool:
        """Whether what a node heard lets the value be proposed at a ballot."""
        for reports in self.bases(node, decree, ballot, rounds):
            values = allowed(reports, self._quorums, rounds)
            if values is None or value in values:
                return True
        return False


def _prefixes(
    reports: Mapping[NodeId, Report], enough: Callable[[frozenset[NodeId]], bool]
) -> Iterator[Mapping[NodeId, Report]]:
    gathered: dict[NodeId, Report] = {}
    for node, report in reports.items():
        gathered[node] = report
        if enough(frozenset(gathered)):
            yield dict(gathered)
