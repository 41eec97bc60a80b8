"""What clients of a log were told, held against the log carried out once more; how operations are said."""

from collections.abc import Callable, Iterator, Sequence

from paxos.errors import Rejected, WireError
from paxos.sim.keyvalue_words import meaning_of
from paxos.sim.ledger import Fold
from paxos.sim.result import Operation

__all__ = ["judge_commands", "meant", "said"]


def judge_commands(
    operations: Sequence[Operation], fold: Fold, shown: Callable[[int], str]
) -> Iterator[tuple[str, str]]:
    """What clients were told of their commands is what the log gives.

    Args:
        operations: what clients did.
        fold: the log carried out once more.
        shown: a place of the log in words.
    """
    for op in operations:
        if op.request is None or op.outcome is None:
            continue
        client, _, number, digest = op.request
        found = fold.done.get((client, number, digest))
        if op.outcome == "rejected" and found is not None:
            sentence = (
                f"client {op.client} was told that {said(op)} was rejected, but {shown(found[0])} has it"
            )
            yield "RejectedNotApplied", sentence
        if op.outcome != "done":
            continue
        if found is None:
            yield (
                "Durability",
                f"client {op.client} was told that {said(op)} was done; nothing applied has it",
            )
        elif meant(op.kind, found[1]) != op.out:
            sentence = (
                f"client {op.client} was told {op.out!r:.60} of {said(op)} by node {op.node}; "
                f"{shown(found[0])} gives {meant(op.kind, found[1])!r:.60}"
            )
            yield "AnswerExact", sentence


def meant(kind: str, answer: bytes) -> object:
    """What an answer says to a client; of one that says nothing, why."""
    try:
        return meaning_of(kind, answer)
    except (Rejected, WireError) as error:
        return f"{type(error).__name__}: {error}"


def said(op: Operation) -> str:
    """An operation in a few words."""
    return f"{op.kind} {op.name!r:.40}" + ("" if op.value is None else f" = {op.value!r:.40}")
