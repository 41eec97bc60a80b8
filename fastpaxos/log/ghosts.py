"""What the invariants of the log of Fast Paxos keep of a run: votes, what they chose, and who was told what.

The facts come from messages alone, as nodes let them go and take them in. The rules are stated here once more
by their definitions, and share nothing with the code that they judge but what is said in `fastpaxos.ghosts`.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from fastpaxos.ghosts import Report
from fastpaxos.log.messages import Promise, Voted
from fastpaxos.log.messages import Report as SlotReport
from fastpaxos.log.records import FoundRecords, read_records
from fastpaxos.log.replica import FastLogReplica
from fastpaxos.rounds import Rounds
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.contract import Step
from paxos.quorum import Phase, QuorumSystem

__all__ = ["Heard", "RoundsOf", "Votes", "durable", "replica_of"]


@lru_cache(maxsize=8192)
def _parse(key: bytes, data: bytes) -> FoundRecords:
    return read_records({key: data})


def durable(step: Step, key: bytes) -> FoundRecords:
    """What the node's disk holds under a key, after the step."""
    data = step.durable.get(key)
    return read_records({}) if data is None else _parse(key, data)


def replica_of(step: Step) -> FastLogReplica | None:
    """The replica after the step, if it is one of this protocol and up."""
    return step.replica if isinstance(step.replica, FastLogReplica) else None


class RoundsOf:
    """Which ballots are fast in this run: every replica says the same."""

    def __init__(self) -> None:
        self._rounds: Rounds | None = None

    def see(self, step: Step) -> Rounds:
        """The rounds of the run; the default as long as no replica was seen."""
        if self._rounds is None:
            replica = replica_of(step)
            if replica is None:
                return Rounds()
            self._rounds = replica.acceptor.rounds
        return self._rounds


class Votes:
    """The votes that left, by slot and ballot, and what they chose.

    Attributes:
        of: votes by slot, ballot and node.
        chosen: for each slot every value that a quorum voted for at one ballot, with the lowest such ballot.
    """

    def __init__(self, quorums: QuorumSystem) -> None:
        self._quorums = quorums
        self.of: dict[int, dict[Ballot, dict[NodeId, bytes]]] = {}
        self.chosen: dict[int, dict[bytes, Ballot]] = {}

    def add(self, node: NodeId, vote: Voted, rounds: Rounds) -> bool:
        """A vote left; whether it is a new one."""
        ballot, slot, value = vote
        votes = self.of.setdefault(slot, {}).setdefault(ballot, {})
        if node in votes:
            return False
        votes[node] = value
        phase = Phase.FAST if ballot.step <= rounds.last_fast_step else Phase.TWO
        if self._quorums.is_quorum({each for each, voted in votes.items() if voted == value}, phase):
            chosen = self.chosen.setdefault(slot, {})
            chosen[value] = min(ballot, chosen.get(value, ballot))
        return True


class Heard:
    """What each node took in, in the order in which it did, in its present life: whole promises, reports of
    one slot, and votes. That is what a proposal may rest on."""

    def __init__(self, quorums: QuorumSystem) -> None:
        self._quorums = quorums
        self._pages: dict[tuple[NodeId, Ballot, NodeId], list[Promise]] = {}
        # By node and ballot: of each whole promise its votes by slot, and up to where it had compacted.
        self._promises: dict[tuple[NodeId, Ballot], dict[NodeId, tuple[dict[int, Report], int]]] = {}
        # By node, ballot and slot: reports for the ballot, or votes at it.
        self._reports: dict[tuple[NodeId, Ballot, int], dict[NodeId, Report]] = {}
        self._votes: dict[tuple[NodeId, Ballot, int], dict[NodeId, bytes]] = {}

    def see(self, step: Step) -> None:
        """Take in what the step's node was told, or forget all it knew."""
        node, message, sender = step.node, step.message, step.sender
        if step.action == "crash":
            for of in (self._pages, self._promises, self._reports, self._votes):
                _forget(of, node)
        if sender is None or sender not in self._quorums.members:
            return
        if isinstance(message, Voted):
            key = (node, message.ballot, message.slot)
            self._votes.setdefault(key, {}).setdefault(sender, message.value)
        elif isinstance(message, SlotReport):
            reports = self._reports.setdefault((node, message.ballot, message.slot), {})
            reports.setdefault(sender, (message.vote, message.value))
        elif isinstance(message, Promise):
            self._promise(node, sender, message)

    def _promise(self, node: NodeId, sender: NodeId, page: Promise) -> None:
        pages = self._pages.setdefault((node, page.ballot, sender), [])
        if any(each.first == page.first for each in pages):
            return
        pages.append(page)
        by_first = {each.first: each for each in pages}
        at, votes, compacted = min(by_first), dict[int, Report](), 0
        while at in by_first:
            each = by_first[at]
            votes.update((slot, (ballot, value)) for slot, ballot, value in each.entries)
            compacted = max(compacted, each.compacted)
            if not each.following:
                promises = self._promises.setdefault((node, page.ballot), {})
                promises.setdefault(sender, (votes, compacted))
                return
            at = each.following

    def promises(self, node: NodeId, ballot: Ballot) -> Mapping[NodeId, tuple[dict[int, Report], int]]:
        """The whole promises of a ballot that a node took in: votes by slot, and what was compacted."""
        return self._promises.get((node, ballot), {})

    def voters(self, node: NodeId, ballot: Ballot, slot: int, value: bytes) -> set[NodeId]:
        """Of whom a node took in votes for a value."""
        votes = self._votes.get((node, ballot, slot), {})
        return {each for each, voted in votes.items() if voted == value}

    def voted(self, node: NodeId, slot: int) -> list[tuple[Ballot, dict[NodeId, bytes]]]:
        """The votes in a slot that a node took in, by ballot."""
        return [(key[1], votes) for key, votes in self._votes.items() if key[0] == node and key[2] == slot]

    def bases(
        self, node: NodeId, ballot: Ballot, slot: int, rounds: Rounds
    ) -> Iterator[Mapping[NodeId, Report]]:
        """Every phase-1 quorum of reports that a node may have had, for proposing in a slot at a ballot.

        Promises of the ballot for all slots; or reports for this slot alone, together with votes at the
        ballot immediately before, which stand for them.
        """
        told = {
            sender: votes.get(slot, (BOTTOM, None))
            for sender, (votes, _) in self.promises(node, ballot).items()
        }
        yield from self._prefixes(told)
        alone = dict(self._reports.get((node, ballot, slot), {}))
        before = rounds.predecessor(ballot)
        votes = {} if before is None else self._votes.get((node, before, slot), {})
        if before is not None:
            stand: dict[NodeId, Report] = {each: (before, value) for each, value in votes.items()}
            yield from self._prefixes(stand)
            yield from self._prefixes({**stand, **alone})
        yield from self._prefixes(alone)

    def _prefixes(self, reports: Mapping[NodeId, Report]) -> Iterator[Mapping[NodeId, Report]]:
        gathered: dict[NodeId, Report] = {}
        for node, report in reports.items():
            gathered[node] = report
            if self._quorums.is_quorum(gathered.keys(), Phase.ONE):
                yield dict(gathered)


def _forget(of: dict[Any, Any], node: NodeId) -> None:
    for key in [key for key in of if key[0] == node]:
        del of[key]
