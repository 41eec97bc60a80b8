"""What must hold of every log whose commands have one order, by name, checked at every step.

Whatever protocol orders them, nodes apply one log: the same commands in the same slots, none left out, none
changed. A protocol adds what must hold of its ballots and votes.

The names are those of the specifications.
"""

from typing import Final

from paxos.ballot import NodeId
from paxos.basic.watch import Watch
from paxos.command import NOP, Command
from paxos.contract import Step
from paxos.quorum import QuorumSystem

__all__ = [
    "AppliedContiguous",
    "AppliedPrefix",
    "SlotAgreement",
    "Stability",
    "Validity",
    "at_slot",
    "commits",
]


def at_slot(step: Step, slot: int, what: str) -> str:
    """`what` broke, and where."""
    return f"node {step.node}, slot {slot}: {what}"


def commits(step: Step) -> list[tuple[int, Command]]:
    """Slot and command of everything that the step applied."""
    return [(mark, command) for mark, command in step.applies if isinstance(mark, int)]


class SlotAgreement(Watch):
    """No two nodes commit different commands in one slot."""

    name = "SlotAgreement"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._committed: dict[int, tuple[Command, NodeId]] = {}

    def _after(self, step: Step) -> str | None:
        for slot, command in commits(step):
            known, node = self._committed.setdefault(slot, (command, step.node))
            if known != command:
                return at_slot(
                    step, slot, f"commits {command!r:.80}, and node {node} committed {known!r:.80}"
                )
        return None


class Validity(Watch):
    """What is committed was submitted by some client, or is a no-op."""

    name = "Validity"
    _when = ()
    # A service may submit in any step.
    submissions: Final = True

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._submitted: set[Command] = {NOP}

    def _before(self, step: Step) -> str | None:
        if step.submitted is not None:
            self._submitted.add(step.submitted)
        self._submitted.update(step.placed)
        return None

    def _after(self, step: Step) -> str | None:
        for slot, command in commits(step):
            if command not in self._submitted:
                return at_slot(step, slot, f"commits {command!r:.80}, which nobody submitted")
        return None


class Stability(Watch):
    """What a node committed in a slot never changes, over its restarts too."""

    name = "Stability"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._committed: dict[tuple[NodeId, int], Command] = {}

    def _after(self, step: Step) -> str | None:
        for slot, command in commits(step):
            known = self._committed.setdefault((step.node, slot), command)
            if known != command:
                return at_slot(step, slot, f"commits {command!r:.80} after it had committed {known!r:.80}")
        return None


class AppliedContiguous(Watch):
    """A node applies slots in order, none left out, each once in a life; a snapshot stands for the rest."""

    name = "AppliedContiguous"
    _when = ("crash",)

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._last: dict[NodeId, int] = {}

    def _before(self, step: Step) -> str | None:
        if step.action == "crash":
            self._last.pop(step.node, None)
        return None

    def _after(self, step: Step) -> str | None:
        # A life begins at the snapshot that the disk tells of, and may jump to one that came since.
        snapshots = self._snapshots(step)
        for slot, _ in commits(step):
            last = self._last.get(step.node, 0)
            if slot != last + 1 and not (last < slot and slot - 1 in snapshots):
                return at_slot(step, slot, f"is applied after slot {last}, with a snapshot at {snapshots}")
            self._last[step.node] = slot
        return None

    def _snapshots(self, step: Step) -> set[int]:
        """Up to which slots the node's disk, or the replica, says that all is in a snapshot."""
        return set()


class AppliedPrefix(Watch):
    """What nodes apply is a part of one log: at every node the same commands from slot 1 on, none missing."""

    name = "AppliedPrefix"

    def __init__(self, quorums: QuorumSystem) -> None:
        super().__init__(quorums)
        self._log: list[Command] = []

    def _after(self, step: Step) -> str | None:
        log = self._log
        for slot, command in commits(step):
            if slot == len(log) + 1:
                log.append(command)
            elif slot > len(log):
                return at_slot(step, slot, f"is applied, and nobody applied slot {len(log) + 1}")
            elif log[slot - 1] != command:
                return at_slot(step, slot, f"applies {command!r:.80}, the log has {log[slot - 1]!r:.80}")
        return None
