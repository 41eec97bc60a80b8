"""The contract: how a protocol is found and described, and that Basic Paxos keeps it."""

import importlib.metadata
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import attrs
import pytest

from paxos import contract
from paxos.basic import (
    INVARIANTS,
    Acceptor,
    BasicReplica,
    BasicSettings,
    Learner,
    Proposer,
    protocol,
)
from paxos.contract import (
    AcceptorRole,
    Configuration,
    Decides,
    Effects,
    Instant,
    Invariant,
    LearnerRole,
    ProposerRole,
    Replica,
    find_protocol,
    protocol_names,
)
from paxos.errors import ConfigurationError
from paxos.quorum import FlexibleQuorums, Majority

THREE = Majority((1, 2, 3))


def _points(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str]) -> None:
    """Only these entry points are installed."""
    ours = contract.ENTRY_POINT_GROUP
    installed = [EntryPoint(name, value, ours) for name, value in points]
    others = importlib.metadata.entry_points

    def entry_points(*, group: str) -> Any:
        return installed if group == ours else others(group=group)

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)


def test_basic_paxos_is_found_by_its_name() -> None:
    assert "paxos" in protocol_names()
    assert find_protocol("paxos") is protocol


def test_a_name_that_is_not_there_says_which_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ConfigurationError, match=r"no protocol named 'raft' is installed; known here: .*paxos"
    ):
        find_protocol("raft")
    _points(monkeypatch, ("b", "x:y"), ("a", "x:y"))
    assert protocol_names() == ("a", "b")
    with pytest.raises(ConfigurationError, match=r"known here: a, b;"):
        find_protocol("c")
    _points(monkeypatch)
    with pytest.raises(ConfigurationError, match=r"known here: none;"):
        find_protocol("paxos")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("nothing_of_this_name:protocol", "failed: No module named"),
        ("paxos.basic:no_such_thing", "failed: .*no_such_thing"),
        ("paxos.basic:Proposer", "is a type, not a paxos.contract.ProtocolDescription"),
        ("breaks_when_imported:protocol", "failed: division by zero"),
    ],
)
def test_an_entry_point_that_is_broken_is_named(
    value: str, said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "breaks_when_imported.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    _points(monkeypatch, ("broken", value))
    with pytest.raises(ConfigurationError, match=said) as caught:
        find_protocol("broken")
    assert "protocol 'broken'" in str(caught.value)
    assert value in str(caught.value)
    assert "breaks_when_imported" not in sys.modules


def test_two_distributions_may_not_share_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    _points(monkeypatch, ("one", "a:x"), ("one", "a:x"))
    assert protocol_names() == ("one",), "the same one twice, as in an editable install, is no conflict"
    _points(monkeypatch, ("one", "a:x"), ("one", "b:x"))
    with pytest.raises(ConfigurationError, match="named 'one': a:x and b:x; uninstall one"):
        protocol_names()


def test_basic_paxos_describes_itself() -> None:
    assert (protocol.name, protocol.decides) == ("paxos", Decides.DECREES)
    assert protocol.quorums((3, 1, 2)) == THREE
    assert protocol.settings() == BasicSettings()
    assert protocol.documentation
    assert {kind.name for kind in protocol.messages if kind.reports} == {"Promise", "Accepted", "Reserved"}
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        protocol.name = "other"  # type: ignore[misc]


def test_every_invariant_has_a_name_of_its_own_and_watches_one_run() -> None:
    makers: list[Callable[[Any], Invariant]] = list(INVARIANTS)
    names = [make(THREE).name for make in makers]
    assert len(set(names)) == len(names) == 13
    assert all(make(THREE) is not make(THREE) for make in makers)


@pytest.mark.parametrize(
    ("quorums", "rtt_ms", "bound_ms"),
    [
        (THREE, {2: 10, 3: 30}, 20),
        (Majority((1, 2, 3, 4, 5)), {2: 10, 3: 30, 4: 50, 5: 70}, 60),
        (FlexibleQuorums((1, 2, 3, 4), phase1=3, phase2=2), {2: 10, 3: 30, 4: 50}, 40),
        (FlexibleQuorums((1, 2, 3), phase1=3, phase2=1), {2: 10, 3: 30}, 30),
        (Majority((1,)), {}, 0),
    ],
)
def test_the_bound_is_two_round_trips(quorums: Any, rtt_ms: dict[int, float], bound_ms: float) -> None:
    assert protocol.bound_ms is not None
    found = protocol.bound_ms(1, quorums.members, lambda here, there: rtt_ms[there], quorums)
    assert found == bound_ms


def test_the_roles_and_the_replica_have_the_contracts_shape() -> None:
    proposer: ProposerRole[Any, Any] = Proposer(1, THREE, b"v")
    acceptor: AcceptorRole[Any, Any, Any] = Acceptor()
    learner: LearnerRole[Any, Any] = Learner(THREE)
    replica: Replica = BasicReplica(Configuration(1, THREE), {}, lambda name, bound: 0, Instant(0))
    for role, one in (
        (ProposerRole, proposer),
        (AcceptorRole, acceptor),
        (LearnerRole, learner),
        (Replica, replica),
    ):
        wanted = {name for name in vars(role) if not name.startswith("_")}
        assert wanted <= set(dir(one))


def test_effects_are_taken_once() -> None:
    replica = BasicReplica(Configuration(1, THREE), {}, lambda name, bound: 0, Instant(0))
    first, second = replica.effects(), replica.effects()
    assert first.writes
    assert first.sends
    assert not any(getattr(second, name) for name in Effects.__slots__ if name != "room")


def test_an_instant_knows_the_wall_clock_only_when_told() -> None:
    assert Instant(7.0) == (7.0, 0.0, float("inf"))
    assert Configuration(1, THREE).members == (1, 2, 3)


def test_a_protocol_that_is_not_installed_is_named_by_its_module() -> None:
    assert find_protocol("paxos.basic:protocol") is find_protocol("paxos")
    with pytest.raises(ConfigurationError, match=r"its paxos\.basic:protocoll failed: module"):
        find_protocol("paxos.basic:protocoll")
    with pytest.raises(ConfigurationError, match="its nowhere:protocol failed: No module named 'nowhere'"):
        find_protocol("nowhere:protocol")
    with pytest.raises(ConfigurationError, match=r"paxos\.basic:Acceptor is a type, not"):
        find_protocol("paxos.basic:Acceptor")
