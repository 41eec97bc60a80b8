"""What is called wrongly says so: mistakes that a checker of types would find, and not everybody runs one."""

import math
from typing import Any

import pytest

from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.basic import Accept, Accepted, Acceptor, Learner, Nack, Prepare, Promise, Proposer
from paxos.errors import ConfigurationError, QuorumError
from paxos.quorum import (
    ExplicitQuorums,
    GridQuorums,
    Majority,
    Phase,
    QuorumSystem,
    WeightedQuorums,
)

THREE = Majority([1, 2, 3])


class Mine(QuorumSystem):
    """A system of somebody's own: more than half of three."""

    members = (1, 2, 3)

    def is_quorum(self, nodes: Any, phase: Phase = Phase.TWO) -> bool:
        return len({1, 2, 3} & set(nodes)) > 1


SYSTEMS: list[Any] = [
    THREE,
    Majority(range(1, 30)),
    WeightedQuorums({1: 1, 2: 2}),
    WeightedQuorums({node: node for node in range(1, 12)}),
    GridQuorums([[1, 2], [3, 4]]),
    ExplicitQuorums([1, 2, 3], [[1, 2], [2, 3], [1, 3]]),
    Mine(),
]


def near(node: NodeId) -> float:
    return float(node)


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: type(system).__name__)
def test_a_phase_is_a_phase(system: Any) -> None:
    calls = [
        lambda phase: system.smallest_quorums(phase),
        lambda phase: system.survives(phase),
        lambda phase: system.best_quorum(near, phase),
    ]
    if not isinstance(system, Mine):
        calls.append(lambda phase: system.is_quorum({1, 2, 3}, phase))
    for call in calls:
        for phase in ("phase-1", 1, None, math.inf):
            with pytest.raises(QuorumError, match=r"a phase is Phase\.ONE, TWO or FAST"):
                call(phase)


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: type(system).__name__)
def test_the_best_quorum_takes_the_distance_first(system: Any) -> None:
    for wrong in (Phase.ONE, "near", None):
        with pytest.raises(QuorumError, match=r"best_quorum\(\) takes a function of a node, then a phase"):
            system.best_quorum(wrong, near)


@pytest.mark.parametrize("value", ["blue", bytearray(b"blue"), 3, ["blue"]])
def test_a_proposer_proposes_bytes(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"a proposer proposes bytes, not {type(value).__name__}: "):
        Proposer(1, THREE, value)
    reader = Proposer(1, THREE)
    with pytest.raises(ConfigurationError, match="a proposer proposes bytes"):
        reader.offer(value)
    assert reader.offer(b"blue")
    assert Proposer(1, THREE, b"").value == b""


def test_an_acceptor_says_what_it_answers() -> None:
    """`proposer.receive` gives None until a quorum has promised."""
    for wrong in (None, "prepare", Nack(b"", Ballot(1, 1), Ballot(2, 2)), (b"", Ballot(1, 1))):
        with pytest.raises(TypeError, match="an acceptor answers a Prepare or an Accept, and was given"):
            Acceptor().receive(1, wrong)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="for decree b'x' came to the acceptor of b''"):
        Acceptor().receive(1, Prepare(b"x", Ballot(1, 1)))


def test_every_answer_of_an_acceptor_may_be_handed_to_everybody() -> None:
    acceptor, learner, proposer = Acceptor(), Learner(THREE), Proposer(1, THREE, b"v")
    ballot = proposer.prepare().ballot
    kinds = []
    for question in (Prepare(b"", ballot), Accept(b"", ballot, b"v"), Prepare(b"", Ballot(0, 1))):
        answer = acceptor.receive(1, question)
        kinds.append(type(answer))
        assert learner.receive(1, answer) is None
        assert proposer.receive(1, answer) is None
    assert kinds == [Promise, Accepted, Nack]
    assert learner.receive(2, Promise(b"", ballot, BOTTOM, None)) is None
