"""Requests that are asked for again while they are under way here.

A client that has waited for long asks once more, here or at another node, under the same request id. What is
ordered is carried out once all the same; but each time would be another command, and a cluster that is slow
because it has too much to do would get more of it, the slower it is.  So what a node has taken and not
answered it does not order again: whoever asked once more is answered along with whoever asked first, once for
each time.

Only for logs in which nothing that was given to the replica is ever dropped without its saying so.
"""

from collections.abc import Iterator
from itertools import groupby
from typing import Final, NamedTuple

from paxos.service.batches import Run, run_piece
from paxos.service.turn import ClientKey

__all__ = ["Again", "UnderWay"]

_DIGEST: Final = 8


class Again(NamedTuple):
    """Requests that were asked for once more.

    Args:
        client: who did so.
        first: the index, in the run that is answered, of the first of them.
        end: the index after the last.
    """

    client: ClientKey
    first: int
    end: int


class UnderWay:
    """What one node has taken of its clients and not answered."""

    def __init__(self) -> None:
        # By client id and number, the run that it came in.
        self._runs: dict[bytes, dict[int, Run]] = {}
        # By client id and number, who asked for it once more, in order.
        self._again: dict[bytes, dict[int, list[ClientKey]]] = {}

    def news(self, client: ClientKey, run: Run) -> Iterator[Run]:
        """The parts of a run that are not under way yet; the others are answered when those are."""
        known = self._runs.setdefault(run.client, {})
        numbers = range(run.sequence, run.sequence + len(run.bodies))
        if known.keys().isdisjoint(numbers):
            known.update(dict.fromkeys(numbers, run))
            yield run
            return
        for is_known, group in groupby(range(len(numbers)), lambda index: _is_same(known, run, index)):
            indexes = list(group)
            first, end = indexes[0], indexes[-1] + 1
            if is_known:
                again = self._again.setdefault(run.client, {})
                for number in numbers[first:end]:
                    again.setdefault(number, []).append(client)
            else:
                # Of two commands under one number the first is known by it.
                for number in numbers[first:end]:
                    known.setdefault(number, run)
                yield run_piece(run, first, end)

    def ended(self, run: Run) -> Iterator[Again]:
        """These are answered. Who is to be answered as well."""
        known = self._runs.get(run.client)
        if known is None:
            return
        numbers = range(run.sequence, run.sequence + len(run.bodies))
        waiting = self._again.get(run.client)
        if waiting is None and len(known) == len(numbers) and known.get(run.sequence) is run:
            known.clear()  # the commonest: the only one of its client
        for index, number in enumerate(numbers if known else ()):
            if not _is_same(known, run, index):
                continue  # another command under its number
            del known[number]
            if waiting is not None:
                for client in waiting.pop(number, ()):
                    yield Again(client, index, index + 1)
        if not known:
            del self._runs[run.client]
        if waiting is not None and not waiting:
            del self._again[run.client]

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._runs and not self._again


def _is_same(known: dict[int, Run], run: Run, index: int) -> bool:
    """Whether a request is known: the same number, and the same command."""
    other = known.get(run.sequence + index)
    if other is None:
        return False
    at = _DIGEST * (run.sequence + index - other.sequence)
    return other.digests[at : at + _DIGEST] == run.digests[_DIGEST * index : _DIGEST * (index + 1)]
