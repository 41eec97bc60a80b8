"""A protocol as a state machine: a good one passes, planted mistakes are found, scripts play."""

import attrs
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

import paxos
from paxos.basic import protocol as basic
from paxos.contract import Decides
from paxos.testing import ProtocolStateMachine
from tests.planted import amnesiac, deaf, early, half

TestPaxos = ProtocolStateMachine.of("paxos").TestCase
# A share of what the profile says, which is more with --hypothesis-profile=long.
_SHARE = settings().max_examples // 3
TestPaxos.settings = settings(max_examples=_SHARE)


class FiveEager(ProtocolStateMachine):
    protocol = "paxos"
    nodes = 5
    eager = True


TestFiveEager = FiveEager.TestCase
TestFiveEager.settings = settings(max_examples=_SHARE // 2)

#: What is found is not made small: that takes a minute, and is not what is tested here.
_FIND = settings(max_examples=200, phases=[Phase.generate])


@pytest.mark.parametrize(
    ("protocol", "name"),
    [(amnesiac, "PromiseMonotone"), (early, "DurableBeforeSend")],
    ids=lambda value: getattr(value, "name", value),
)
def test_planted_mistakes_are_found_and_shown_as_a_script(
    protocol: paxos.contract.ProtocolDescription, name: str
) -> None:
    machine = ProtocolStateMachine.of(protocol)
    with pytest.raises(AssertionError, match=name) as found:
        run_state_machine_as_test(machine, settings=_FIND)
    script = [line for line in str(found.value).splitlines() if line.startswith("    ")]
    with pytest.raises(AssertionError, match=name):
        ProtocolStateMachine.play(protocol, script)
    assert ProtocolStateMachine.play("paxos", script, strict=False).violations == []


def test_without_invariants_what_nodes_know_and_clients_were_told_is_judged() -> None:
    machine = ProtocolStateMachine.of(attrs.evolve(half, invariants=()))
    with pytest.raises(AssertionError, match=r"^(Agreement|ReadFresh|Stability)"):
        run_state_machine_as_test(machine, settings=_FIND)


def test_whoever_waits_for_ever_is_found() -> None:
    machine = ProtocolStateMachine.of(deaf)()
    machine.submit(which=0, name=0, value=0)
    with pytest.raises(AssertionError, match=r'(?s)Liveness .* 1 clients have none .* decide "d" = "a"'):
        machine.teardown()


def test_a_script_is_played_to_its_end() -> None:
    script = """
        1 submits decide "d" = "a"
        sync 1
        1 -> 2 Prepare "d"
        sync 2
        2 -> 1 Promise "d"
        1 -> 2 Accept "d"
        sync 1
        sync 2
        2 -> 1 Accepted "d"
        sync 1
    """
    stepper = ProtocolStateMachine.play("paxos", script.splitlines())
    assert stepper.decisions()[1] == {b"d": b"a"}
    assert stepper.decisions()[2] == {}


def test_a_move_that_can_not_be_made_is_no_silent_success() -> None:
    script = ['1 submits decide "d" = "a"', '1 -> 2 Accept "d"']
    with pytest.raises(
        AssertionError, match="line 2, '1 -> 2 Accept \"d\"', can not be made: possible are sync 1"
    ):
        ProtocolStateMachine.play("paxos", script)
    assert ProtocolStateMachine.play("paxos", script, strict=False).unanswered == 1
    with pytest.raises(paxos.ConfigurationError, match="not a move"):
        ProtocolStateMachine.play("paxos", ["1 wonders"])


def test_it_says_what_it_can_not_try() -> None:
    with pytest.raises(paxos.ConfigurationError, match="nonesuch"):
        ProtocolStateMachine.of("nonesuch")
    with pytest.raises(paxos.ConfigurationError, match="expected a name"):
        ProtocolStateMachine.of(None)  # type: ignore[arg-type]
    with pytest.raises(paxos.ConfigurationError, match="decides a log"):
        ProtocolStateMachine.of(attrs.evolve(basic, decides=Decides.LOG))


def test_a_machine_is_named_for_its_protocol() -> None:
    machine = ProtocolStateMachine.of("paxos", nodes=5)
    assert machine.__name__ == "PaxosStateMachine"
    assert machine.__doc__ == "Tries paxos."
    assert len(machine().stepper.members) == 5
