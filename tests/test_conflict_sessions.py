"""The client table where commands that do not conflict swap places: at a marker it is the same everywhere."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.service.batches import Run, take_run
from paxos.service.sessions import IDLE_MARKERS, Refusal, Sessions
from paxos.wire import dumps

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

CLIENTS = (b"a" * 16, b"b" * 16)
# What only reads does not conflict with its own retry; what writes does.
BODIES = st.sampled_from([b"r1", b"r2", b"w1", b"w2"])
RUNS = st.builds(
    lambda client, birth, acknowledged, sequence, bodies: take_run(
        client, birth, acknowledged, sequence, bodies
    ),
    st.sampled_from(CLIENTS),
    st.sampled_from([0, 0, 0, 1, 2]),
    st.integers(0, 6),
    st.integers(1, 6),
    st.lists(BODIES, min_size=1, max_size=3),
)


def requests(run: Run) -> set[tuple[bytes, int, bytes]]:
    return {(run.client, run.sequence + index, body) for index, body in enumerate(run.bodies)}


def conflict(one: Run, other: Run) -> bool:
    return any(body.startswith(b"w") for _, _, body in requests(one) & requests(other))


def reordered(runs: list[Run], source: Any) -> list[Run]:
    """The same runs, with conflicting ones in the same order."""
    left, found = list(runs), []
    while left:
        ready = [
            at for at, run in enumerate(left) if not any(conflict(run, earlier) for earlier in left[:at])
        ]
        found.append(left.pop(ready[source.randrange(len(ready))]))
    return found


def applied(table: Sessions, runs: list[Run]) -> dict[tuple[int, int], Any]:
    """What each request was told; refusals only as such, and of them not those that were carried out before.

    Whether a result is still there for a retry depends on what was acknowledged meanwhile, and is for the
    client that acknowledged it.
    """
    told = {}
    for run in runs:
        answers = table.apply(
            run, lambda first, bodies: [b"%d " % (first + at) + b for at, b in enumerate(bodies)]
        )
        for index, answer in enumerate(answers):
            if not isinstance(answer, Refusal) or not answer.applied:
                told[id(run), index] = type(answer)
    return told


def packed(table: Sessions) -> list[bytes]:
    return [dumps(item) for item in table.pack()]


@given(st.lists(st.lists(RUNS, max_size=8), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_at_a_marker_the_table_does_not_depend_on_the_order(eras: list[list[Run]], source: Any) -> None:
    here, there = (Sessions(idle_markers=2) for _ in range(2))
    for runs in eras:
        other = reordered(runs, source)
        first, second = applied(here, runs), applied(there, other)
        assert {key: first[key] for key in first.keys() & second.keys()} == {
            key: second[key] for key in first.keys() & second.keys()
        }
        here.mark()
        there.mark()
        assert packed(here) == packed(there)


def test_a_client_with_two_births_is_told_the_same_everywhere() -> None:
    old = take_run(CLIENTS[0], 0, 0, 1, [b"w1"])
    new = take_run(CLIENTS[0], IDLE_MARKERS + 1, 0, 2, [b"w2"])
    tables = []
    for runs in ([old, new], [new, old]):
        table = Sessions()
        for _ in range(IDLE_MARKERS + 1):
            table.mark()
        told = {run.sequence: table.apply(run, lambda first, bodies: list(bodies)) for run in runs}
        assert told[2] == [b"w2"]
        assert told[1][0].expired
        table.mark()
        tables.append(packed(table))
        # Now all know it alike, and it is as old as it was then.
        assert table.apply(old, lambda first, bodies: list(bodies)) == [b"w1"]
    assert tables[0] == tables[1]
