"""What a run is judged by at its end, whatever the protocol: what clients saw, and what nodes know.

For single decrees no search is needed.  A history of one decree is linearizable exactly when everyone is
told one value, that value was proposed before anyone was told, and nobody who asked after somebody was
told hears "undecided".  Whoever is told "rejected" is told that the value was not chosen and will not be: so
a value that only such clients proposed must be nobody's.
"""

from collections.abc import Iterable, Mapping, Sequence

from paxos.ballot import NodeId
from paxos.sim.result import Operation

__all__ = ["judge_decisions", "judge_history"]


def judge_decisions(decisions: Mapping[NodeId, Mapping[bytes, bytes]]) -> Iterable[tuple[str, str]]:
    """All nodes that know a decree know the same."""
    first: dict[bytes, tuple[NodeId, bytes]] = {}
    for node, known in decisions.items():
        for name, value in known.items():
            other, expected = first.setdefault(name, (node, value))
            if value != expected:
                yield (
                    "Agreement",
                    f"decree {name!r:.80}: node {other} knows {expected!r:.60}, node {node} {value!r:.60}",
                )


def judge_history(
    operations: Sequence[Operation], decisions: Mapping[NodeId, Mapping[bytes, bytes]]
) -> Iterable[tuple[str, str]]:
    """What clients were told is one value a decree, proposed in time, known to nodes, never taken back."""
    by_name: dict[bytes, list[Operation]] = {}
    for operation in operations:
        by_name.setdefault(operation.name, []).append(operation)
    known: dict[bytes, bytes] = {}
    for decided in decisions.values():
        known.update(decided)
    for name, about in by_name.items():
        yield from _judge_decree(name, about, known.get(name))
    for name, value in known.items():
        yield from _judge_chosen(name, value, by_name.get(name, ()), "is decided as")


def _judge_chosen(
    name: bytes, value: bytes, operations: Sequence[Operation], how: str
) -> Iterable[tuple[str, str]]:
    """What is chosen was proposed, and not only by clients who were told that it certainly was not."""
    proposed = [op for op in operations if op.value == value]
    if not proposed:
        yield "Validity", f"decree {name!r:.80} {how} {value!r:.60}, which nobody proposed for it"
    elif all(op.outcome == "rejected" for op in proposed):
        sentence = (
            f"decree {name!r:.80} {how} {value!r:.60}, but client {proposed[0].client}, who proposed it, "
            f"was told by node {proposed[0].node} that it was rejected"
        )
        yield "RejectedNotApplied", sentence


def _judge_decree(
    name: bytes, operations: Sequence[Operation], known: bytes | None
) -> Iterable[tuple[str, str]]:
    proposed = {op.value: op.call_s for op in operations if op.value is not None}
    told: Operation | None = None  # the first to be told a value
    for op in sorted(
        (op for op in operations if op.outcome == "done"), key=lambda op: (op.return_s or 0.0, op.call_s)
    ):
        if op.out is None:
            if op.value is not None:
                yield "Answered", f"decree {name!r:.80}: client {op.client} decided, and was told no value"
            elif told is not None and told.return_s is not None and told.return_s < op.call_s:
                sentence = (
                    f"decree {name!r:.80}: client {op.client} asked at {op.call_s:.6f} s and heard "
                    f"undecided, but client {told.client} knew {told.out!r:.60} at {told.return_s:.6f} s"
                )
                yield "ReadFresh", sentence
            continue
        if op.out not in proposed or (op.return_s is not None and proposed[op.out] > op.return_s):
            yield (
                "Validity",
                f"decree {name!r:.80}: client {op.client} was told {op.out!r:.60}, not proposed by then",
            )
        if told is None:
            told = op
            if known is None and op.out in proposed:
                yield from _judge_chosen(name, op.out, operations, f"was told to client {op.client} as")
        elif told.out != op.out:
            sentence = (
                f"decree {name!r:.80}: client {told.client} was told {told.out!r:.60} by node {told.node}, "
                f"client {op.client} {op.out!r:.60} by node {op.node}"
            )
            yield "Agreement", sentence
    if told is not None and known is not None and known != told.out:
        yield (
            "Stability",
            f"decree {name!r:.80}: client {told.client} was told {told.out!r:.60}, nodes know {known!r:.60}",
        )
