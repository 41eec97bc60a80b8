"""A state machine: what a replicated service does, one command after another.

A protocol that decides a log gives every replica the same commands in an order that agrees wherever it
matters.  All replicas are then in the same state, if and only if the machine on them keeps three promises:
it is deterministic, its footprints are true, and a snapshot holds everything.  `paxos.testing` has the tests
that hold a machine to them (`StateMachineConformance`).
"""

from typing import Protocol

from paxos.command import Footprint

__all__ = ["StateMachine"]


class StateMachine(Protocol):
    """What is replicated. A replica calls it from one thread, one call at a time.

    *Deterministic*: state and answers follow from the commands applied so far and nothing else: no clock, no
    randomness, no environment, and no order of a `set`, which differs from process to process.

    *True footprints*: commands whose footprints do not conflict give the same state and the same answers in
    either order, because replicas may apply them in either.
    """

    def apply(self, command: bytes) -> bytes:
        """Carry out a command that was decided; the answer is for its client.

        A command that makes no sense is answered so. Whatever this raises stops the node.
        """
        ...

    def footprint(self, command: bytes) -> Footprint:
        """What a command, or a query, reads and writes: a function of its bytes alone, never of the state.

        It is called before the command is decided. When in doubt the answer is `paxos.ALL`, which conflicts
        with everything and is always right.
        """
        ...

    def query(self, query: bytes) -> bytes:
        """The answer to a question that changes nothing."""
        ...

    def snapshot(self) -> bytes:
        """The whole state: a machine that restores it goes on as this one would."""
        ...

    def restore(self, snapshot: bytes) -> None:
        """Become what the snapshot says, whatever was there before."""
        ...
